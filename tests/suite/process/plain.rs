//! L105: what clients say, wherever it is shown.

use shovel_tests::{Options, Pool, Raw, upgrade_request};

/// A path that turns text around and begins a command of a terminal, in one character.
const PATH: &str = "/\u{202e}txt\u{9b}2J";

fn is_plain(text: &str) -> bool {
    text.chars().all(|one| (one == '\n' || !one.is_control()) && one != '\u{202e}')
}

async fn connected(pool: &Pool) -> Raw {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(upgrade_request(&format!("/ws/echo?{PATH}"), "")).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw
}

async fn ask(pool: &Pool) {
    let mut raw = Raw::connect(pool.address()).await;
    raw.write(format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    raw.rest().await;
}

/// L105.
#[tokio::test]
async fn a_client_commands_no_terminal_by_the_log() {
    let [text, json] = ["\\u{202e}txt\\u{9b}2J", "\\u202etxt\\u009b2J"];
    for (options, expected) in [
        (Options::app().flag("--access-log"), json),
        (Options::app().flag("--access-log").log_in_text(), text),
        (Options::app().flag("--dev").log_in_text(), text),
    ] {
        let mut pool = Pool::launch(options);
        match expected == json {
            true => pool.wait_until_it_listens().await,
            false => {
                let is_it = |line: &shovel_tests::Line| line.raw.contains("http://127");
                let line = pool.wait_for("an address", is_it).await;
                let rest = line.raw.split_once("http://").unwrap().1;
                let end = rest.find(|one: char| !(one.is_ascii_digit() || ".:".contains(one)));
                pool.listens_at(rest[..end.unwrap_or(rest.len())].parse().unwrap());
            }
        }
        ask(&pool).await;
        let is_it = |line: &shovel_tests::Line| line.raw.contains(expected);
        let line = pool.wait_for("the request", is_it).await;
        assert!(is_plain(&line.raw), "{:?}", line.raw);
    }
}

/// L105.
#[tokio::test]
async fn a_client_commands_no_terminal_by_what_an_operator_asks() {
    let pool = Pool::start(Options::app()).await;
    let _raw = connected(&pool).await;
    let told = pool.operate(&["connections"]).await;
    assert!(told.text().contains("\\u{202e}txt\\u{9b}2J") && is_plain(told.text()), "{told:?}");
    let told = pool.operate(&["connections", "--json"]).await;
    assert!(is_plain(told.text()), "{told:?}");
    assert_eq!(told.json()[0]["url"].as_str().map(|url| url.ends_with(PATH)), Some(true));
}
