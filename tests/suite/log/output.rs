//! E43: what workers write, line by line in the log, whatever they write.

use shovel_tests::{Deploy, Line, Options, Pool};

/// What the first worker wrote to a stream, as far as it is about this test.
async fn written(script: &str, last: &str, options: impl Fn(Options) -> Options) -> Vec<Line> {
    let deploy = Deploy::of("any");
    let app = shovel_tests::program("fixture-app");
    deploy.script(&format!("{script}\nexec '{}'", app.display()));
    let pool = Pool::start(options(Options::deployed(&deploy))).await;
    pool.wait_for("the last line", |line| line.text("line") == last).await;
    let is_its = |line: &&Line| line.is("worker output") && line.text("stream") == "stderr";
    let lines: Vec<_> = pool.log().lines().iter().filter(is_its).cloned().collect();
    let worker = pool.started()[0];
    for line in &lines {
        assert_eq!(line.number("worker"), Some(worker.id), "{}", line.raw);
        assert_eq!(line.number("pid"), Some(worker.pid.into()), "{}", line.raw);
    }
    lines
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text("line")).collect()
}

/// E43.
#[tokio::test]
async fn each_of_several_lines_is_a_line_of_its_own_with_its_worker() {
    let script = r#"printf 'one\n\n  two "quoted"\r\nthree\n' >&2"#;
    let lines = written(script, "three", |options| options).await;
    assert_eq!(texts(&lines), ["one", "", "  two \"quoted\"", "three"]);
}

/// E43.
#[tokio::test]
async fn a_line_without_end_comes_in_parts_that_lose_nothing() {
    let script = r"i=0; while [ $i -lt 5000 ]; do printf 'line-of-€-%05d|' $i >&2; i=$((i+1)); done
        printf '\nafter\n' >&2";
    let lines = written(script, "after", |options| options).await;
    let (after, parts) = lines.split_last().unwrap();
    assert_eq!(after.text("line"), "after");
    assert!(parts.len() > 1);
    let whole: String = parts.iter().map(|line| line.text("line")).collect();
    let expected: String = (0..5000).map(|i| format!("line-of-€-{i:05}|")).collect();
    assert!(whole == expected, "{} bytes of {}", whole.len(), expected.len());
}

/// E43.
#[tokio::test]
async fn what_is_no_text_is_made_visible_and_what_is_around_it_is_kept() {
    let script = r"printf 'a\377b\033[31m\001c\nend\n' >&2";
    let lines = written(script, "end", |options| options).await;
    assert_eq!(texts(&lines), ["a\u{fffd}b\\u{1b}[31m\\u{1}c", "end"]);
}

/// E43 and E41: of a worker that ends in the middle of a line.
#[tokio::test]
async fn a_last_line_that_was_not_ended_is_told() {
    let deploy = Deploy::of("any");
    deploy.script("printf 'first\nno end' >&2; exit 7");
    let mut pool = Pool::launch(Options::deployed(&deploy));
    assert_eq!(pool.exit_status().await.code(), Some(1));
    pool.wait_for("the line", |line| line.text("line") == "no end").await;
    let last = pool.wait_for("why", |line| line.message().contains("last lines")).await;
    assert!(last.message().contains("\n    no end"), "{}", last.raw);
}

/// E43: a terminal, or whoever reads the log, is told no commands by a worker.
#[tokio::test]
async fn a_log_in_text_has_no_control_characters_of_workers() {
    let deploy = Deploy::of("any");
    let app = shovel_tests::program("fixture-app");
    deploy.script(&format!(r"printf 'red \033[31mtext\n' >&2; exec '{}'", app.display()));
    let pool = Pool::launch(Options::deployed(&deploy).log_in_text());
    let line = pool.wait_for("the line", |line| line.raw.contains("red ")).await;
    assert!(line.raw.contains("red \\u{1b}[31mtext"), "{:?}", line.raw);
    assert!(line.raw.contains("worker=1 pid="), "{}", line.raw);
}
