//! A pool and what it tells about itself at its admin address.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use shovel_tests::{Options, Pool, get, within};

/// A pool and its admin address.
pub(crate) struct Watched {
    pub(crate) pool: Pool,
    pub(crate) admin: SocketAddr,
}

/// Every sample by its name and labels, as they are written.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Watched {
    pub(crate) async fn start(options: Options) -> Self {
        Self::of(Pool::start(Self::options(options)).await).await
    }

    /// With an admin address.
    pub(crate) fn options(options: Options) -> Options {
        options.with("--admin-listen", "127.0.0.1:0").with("--admin-host", "shovel.test")
    }

    /// A pool that was started with [`Watched::options`].
    pub(crate) async fn of(pool: Pool) -> Self {
        let line = pool.wait_for("the address", |line| line.is("listening for operators")).await;
        let admin = line.text("address").trim_start_matches("http://").parse().unwrap();
        Watched { pool, admin }
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        let answer = get(self.admin, "/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
        Metrics::read(answer.text())
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Metrics {
        within(what, async {
            loop {
                let metrics = self.metrics().await;
                if is_so(&metrics) {
                    return metrics;
                }
            }
        })
        .await
    }
}

impl Metrics {
    /// Also checks what the format wants: each metric has its help and its type, once, before its
    /// samples, and no sample comes twice.
    fn read(text: &str) -> Self {
        let (mut samples, mut types, mut helps) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{line}");
                assert_eq!(helps.last(), Some(&name), "{line}");
                continue;
            }
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helps.push(rest.split_once(' ').unwrap().0);
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let kind = types.get(name).map(String::as_str);
            let histogram = name.rsplit_once('_').and_then(|(name, _)| types.get(name));
            match kind {
                Some("counter") => assert!(name.ends_with("_total"), "{line}"),
                Some("gauge") => {}
                _ => assert_eq!(histogram.map(String::as_str), Some("histogram"), "{line}"),
            }
            assert_eq!(samples.insert(series.to_owned(), value.parse().unwrap()), None, "{line}");
        }
        Metrics(samples)
    }

    pub(crate) fn of(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:?}", self.0.keys()))
    }

    /// The sum over all places.
    pub(crate) fn of_workers(&self, name: &str) -> f64 {
        let prefix = format!("{name}{{worker=\"");
        self.0
            .iter()
            .filter(|(series, _)| series.starts_with(&prefix))
            .map(|(_, value)| value)
            .sum()
    }
}
