//! Fields of a message, to be compared.

use http::HeaderMap;

/// Each with its values in order, by name.
pub fn of(map: &HeaderMap) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut all: Vec<_> = map
        .keys()
        .map(|name| {
            let values = map.get_all(name).iter().map(|value| value.as_bytes().to_vec());
            (name.as_str().to_owned(), values.collect())
        })
        .collect();
    all.sort();
    all
}
