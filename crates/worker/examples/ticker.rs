//! A background task that publishes: every client hears a tick each second.
//!
//! ```sh
//! cargo build --example ticker && shovel-pool --workers 4 ./target/debug/examples/ticker
//! ```

use std::time::Duration;

use shovel_worker::{
    App, BroadcastChannel, Error, FetchEvent, PublishError, Response, RunError, StartEvent,
};

const CHANNEL: &str = "ticks";
const PERIOD: Duration = Duration::from_secs(1);

fn app() -> App<()> {
    App::new(()).on_start(start).on_fetch(fetch)
}

/// Every worker starts; one of them ticks, or clients would hear as many ticks as there are
/// workers. On a reload the new one begins shortly before the old one ends, so two may tick then.
async fn start(event: StartEvent<()>) -> Result<(), Error> {
    if event.worker().index == 0 {
        // Not by `wait_until`: the worker would wait for it before it stops, and it never ends.
        tokio::spawn(tick(event.channel(CHANNEL)?));
    }
    Ok(())
}

/// Ends with the supervisor, when nothing can be published any more.
async fn tick(channel: BroadcastChannel) -> Result<(), PublishError> {
    let mut interval = tokio::time::interval(PERIOD);
    let mut ticks: u64 = 0;
    loop {
        interval.tick().await;
        channel.publish(format!("tick {ticks}")).await?;
        ticks += 1;
    }
}

async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    let (connection, response) = event.upgrade_websocket()?;
    connection.subscribe(CHANNEL)?;
    Ok(response)
}

fn main() -> Result<(), RunError> {
    app().run()
}

#[cfg(test)]
mod tests {
    use shovel_worker::testing::TestApp;

    use super::*;

    /// The clock is paused, so the seconds between ticks take no time.
    #[tokio::test(start_paused = true)]
    async fn every_client_hears_every_tick() {
        let app = TestApp::start(app()).await.unwrap();
        let clients = [app.connect("/").await.unwrap(), app.connect("/").await.unwrap()];
        for client in &clients {
            let first = client.next().await;
            let first = first.as_text().and_then(|text| text.strip_prefix("tick ")).unwrap();
            let first: u64 = first.parse().unwrap();
            for number in first + 1..first + 4 {
                assert_eq!(client.next().await.as_text(), Some(&*format!("tick {number}")));
            }
        }
        app.shut_down().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_are_a_second_apart() {
        let app = TestApp::start(app()).await.unwrap();
        app.next_published(CHANNEL).await;
        let start = tokio::time::Instant::now();
        for _ in 0..60 {
            app.next_published(CHANNEL).await;
        }
        let off_by = start.elapsed().abs_diff(60 * PERIOD);
        assert!(off_by <= PERIOD, "60 ticks took {:?}", start.elapsed());
    }
}
