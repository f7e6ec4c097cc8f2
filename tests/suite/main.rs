//! The cases of docs/behaviour.md, group by group, against the shipped programs: a real
//! `shovel-pool`, real worker processes, real clients. Each test's comment names its case.
//!
//! One program with a module per file rather than one program each: it is linked once.

/// Makes two tests of a function that is given a running app: behind a supervisor, and by itself.
/// For the cases that docs/behaviour.md marks (D). The options are those of the fixture app, unless
/// others are given; of their flags an app by itself has those that it knows as variables.
macro_rules! in_both_modes {
    ($body:ident) => {
        in_both_modes!($body, Options::app());
    };
    ($body:ident, $options:expr) => {
        mod $body {
            use shovel_tests::{Options, Pool};

            #[tokio::test]
            async fn in_the_pool() {
                super::$body(Pool::start($options).await).await;
            }

            #[tokio::test]
            async fn alone() {
                super::$body(Pool::start($options.alone()).await).await;
            }
        }
    };
}

mod apps;
mod channels;
mod connections;
mod development;
mod harness;
mod limits;
mod log;
mod operating;
mod process;
mod reload;
mod requests;
mod service;
mod terminate;
mod transfer;
mod workers;
