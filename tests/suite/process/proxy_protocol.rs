//! L102: proxies that pass TCP on and say whose connection it is.

use shovel_tests::{Options, Pool, Raw, get, within};

const ASK: &str = "GET /mirror HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn behind_a_proxy(options: Options) -> Options {
    options.with("--trust-proxy", "127.0.0.1").flag("--proxy-protocol")
}

/// Version 2, with the command and the client's address.
fn binary(command: u8, client: [u8; 4], port: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    // With a field behind the addresses that nobody needs.
    header.extend([command, 0x11, 0, 16]);
    header.extend(client);
    header.extend([127, 0, 0, 1]);
    header.extend(port.to_be_bytes());
    header.extend([0, 80, 4, 0, 1, 0]);
    header
}

async fn answer(pool: &Pool, header: impl AsRef<[u8]>, ask: &str) -> String {
    let mut raw = Raw::connect(pool.address()).await;
    // One that is refused may be closed before it has asked.
    raw.try_write([header.as_ref(), ask.as_bytes()].concat()).await;
    String::from_utf8(raw.rest().await).unwrap()
}

in_both_modes!(the_client_is_the_one_that_the_header_tells, super::behind_a_proxy(Options::app()));
/// L102.
async fn the_client_is_the_one_that_the_header_tells(pool: Pool) {
    let line = "PROXY TCP4 7.7.7.7 127.0.0.1 4711 80\r\n";
    for header in [line.as_bytes().to_vec(), binary(0x21, [7, 7, 7, 7], 4711)] {
        let told = answer(&pool, &header, ASK).await;
        assert!(told.contains("seen-x-forwarded-for: 7.7.7.7\r\n"), "{told}");
        assert!(told.contains("seen-forwarded: for=7.7.7.7;"), "{told}");
        let told = answer(&pool, &header, &ASK.replace("/mirror", "/info")).await;
        assert!(told.contains("\"client\":\"7.7.7.7:4711\""), "{told}");
    }
    let line = "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n";
    let told = answer(&pool, line, ASK).await;
    assert!(told.contains("seen-x-forwarded-for: 2001:db8::7\r\n"), "{told}");
}

in_both_modes!(a_client_behind_a_proxy_is_no_proxy, super::behind_a_proxy(Options::app()));
/// L102: its word is not taken, though the peer of its connection is trusted.
async fn a_client_behind_a_proxy_is_no_proxy(pool: Pool) {
    let ask = ASK.replace("Host: a", "Host: a\r\nX-Forwarded-For: 6.6.6.6");
    let told = answer(&pool, "PROXY TCP4 7.7.7.7 127.0.0.1 4711 80\r\n", &ask).await;
    assert!(told.contains("seen-x-forwarded-for: 7.7.7.7\r\n"), "{told}");
    // A proxy behind the proxy is one.
    let told = answer(&pool, "PROXY TCP4 127.0.0.1 127.0.0.1 4711 80\r\n", &ask).await;
    assert!(told.contains("seen-x-forwarded-for: 6.6.6.6, 127.0.0.1\r\n"), "{told}");
}

in_both_modes!(a_proxy_asks_for_itself, super::behind_a_proxy(Options::app()));
/// L102.
async fn a_proxy_asks_for_itself(pool: Pool) {
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20, [7, 7, 7, 7], 4711)] {
        let told = answer(&pool, header, ASK).await;
        assert!(told.contains("seen-x-forwarded-for: 127.0.0.1\r\n"), "{told}");
    }
}

in_both_modes!(
    a_proxy_that_says_nothing_is_closed_unanswered,
    super::behind_a_proxy(Options::app())
);
/// L102.
async fn a_proxy_that_says_nothing_is_closed_unanswered(pool: Pool) {
    let two = "PROXY TCP4 7.7.7.7 127.0.0.1 1 80\r\nPROXY TCP4 6.6.6.6 127.0.0.1 1 80\r\n";
    for header in ["", "PROXY TCP4 7.7.7.7\r\n", "PROXY TCP4 7.7.7.7 127.0.0.1 1 80\n"] {
        assert_eq!(answer(&pool, header, ASK).await, "", "{header:?}");
    }
    let told = answer(&pool, two, ASK).await;
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    // Others are served meanwhile, and those who say nothing at all are let go.
    let mut silent = Raw::connect(pool.address()).await;
    let told = answer(&pool, "PROXY TCP4 7.7.7.7 127.0.0.1 1 80\r\n", ASK).await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    assert!(within("the end of patience", silent.rest()).await.is_empty());
}

/// L102: whoever is no proxy needs no header, and is not believed with one.
#[tokio::test]
async fn others_than_proxies_have_no_header() {
    let options = Options::app().with("--trust-proxy", "10.0.0.0/8").flag("--proxy-protocol");
    let pool = Pool::start(options).await;
    assert_eq!(get(pool.address(), "/info").await.status, 200);
    let told = answer(&pool, "PROXY TCP4 7.7.7.7 127.0.0.1 1 80\r\n", ASK).await;
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
}

/// L102 and H62: of clients, not of proxies.
#[tokio::test]
async fn limits_of_an_address_are_those_of_the_client_that_was_told() {
    let pool =
        Pool::start(behind_a_proxy(Options::app()).with("--max-connections-per-ip", "1")).await;
    let header = |last: u8| format!("PROXY TCP4 7.7.7.{last} 127.0.0.1 1 80\r\n");
    let keep = ASK.replace("Connection: close\r\n", "");
    let mut first = Raw::connect(pool.address()).await;
    first.write(format!("{}{keep}", header(1))).await;
    assert!(first.head().await.starts_with("HTTP/1.1 200 "));
    // Without a request, which would be left unread.
    let told = answer(&pool, header(1), "").await;
    assert!(told.starts_with("HTTP/1.1 429 "), "{told}");
    let told = answer(&pool, header(2), ASK).await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
}
