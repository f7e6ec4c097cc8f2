//! What waits for the client of a connection that moves, and how that is treated.

use shovel_protocol::control::{AskFields, OutboxFields};
use shovel_protocol::{
    Act, Effect, OutboxQuestion, SlowConsumer as Wire, ToSupervisor, ToWorker, When,
};
use shovel_worker::{OutboxError, SlowConsumer};

use super::harness::{CONNECTION, Supervisor, patiently, text};
use super::{app, release_of, released, revoke_of, staged};

fn asked(token: u64) -> ToSupervisor<'static> {
    let ask = AskFields { token, question: OutboxQuestion::Empty };
    ToSupervisor::Ask { connection: CONNECTION, ask }
}

/// H180: the policy of a handler that did not end is none.
#[tokio::test]
async fn how_slow_clients_are_treated_is_staged_with_the_rest() {
    let (app, state, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "drop; send one"), text(2, "drop; wait")]).await;
    let effect = Effect::SlowConsumer { policy: Some(Wire::DropOldest) };
    supervisor.expect(Act::new(CONNECTION, When::Staged, effect).into()).await;
    supervisor.expect(staged("one", true)).await;
    assert_eq!(heard.next().await, "waits");
    supervisor.send(&[release_of(CONNECTION), revoke_of(CONNECTION)]).await;
    supervisor.expect(released(CONNECTION, 1, 2)).await;
    state.connection().set_slow_consumer(SlowConsumer::Close);
    assert_eq!(state.connection().buffered().await, Err(OutboxError::Moved));
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

/// H182: a handler that waits for its client is waited for as any other, and dropped as any other; a
/// task is told that the connection has moved.
#[tokio::test]
async fn who_waits_for_the_outbox_of_a_connection_that_moves_is_told_so() {
    let (app, state, _heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let connection = state.connection();
    let task = tokio::spawn(async move { connection.outbox_empty().await });
    supervisor.expect(asked(1)).await;
    supervisor.send(&[text(1, "empty; send one"), release_of(CONNECTION)]).await;
    supervisor.expect(asked(2)).await;
    supervisor.expect_nothing().await;
    let outbox = OutboxFields { token: 2, bytes: Some(7) };
    // It says nothing of when nothing waits.
    supervisor.send(&[ToWorker::Outbox { connection: CONNECTION, outbox }]).await;
    supervisor.expect_nothing().await;
    supervisor.send(&[revoke_of(CONNECTION)]).await;
    supervisor.expect(released(CONNECTION, 0, 1)).await;
    assert_eq!(patiently("the task", task).await.unwrap(), Err(OutboxError::Moved));
    supervisor.shut_down().await;
}
