//! [`SessionTransport`]: a transport with the manners of a pipe at both ends of a session.
//!
//! Invariants: what comes before the first request is dropped, so that a client that begins with something else is
//! served like any other. When stdin is closed, the requests that came before are answered, for a bounded time, and
//! only then the session ends.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ClientNotification, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::Notify;

use super::server::CALL_TIMEOUT;

/// Longest wait for answers after stdin is closed. A call that began just before has its whole time.
const DRAIN_TIMEOUT: Duration = CALL_TIMEOUT.saturating_add(Duration::from_secs(5));

/// Transport of one session.
pub(super) struct SessionTransport<T> {
    transport: T,
    has_request: bool,
    is_closed: bool,
    unanswered: Arc<Unanswered>,
}

/// Requests without an answer.
#[derive(Default)]
struct Unanswered {
    ids: Mutex<HashSet<RequestId>>,
    /// Notification that a request was removed.
    removed: Notify,
}

impl Unanswered {
    fn insert(&self, id: RequestId) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
    }

    fn remove(&self, id: &RequestId) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.removed.notify_one();
    }

    fn is_empty(&self) -> bool {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.is_empty()
    }

    async fn wait_until_empty(&self) {
        while !self.is_empty() {
            // A notification from before is kept, so none is missed.
            self.removed.notified().await;
        }
    }
}

impl<T> SessionTransport<T> {
    pub(super) fn new(transport: T) -> Self {
        Self {
            transport,
            has_request: false,
            is_closed: false,
            unanswered: Arc::default(),
        }
    }

    /// Notes a request, or that one is cancelled and gets no answer.
    fn note(&self, message: &RxJsonRpcMessage<RoleServer>) {
        match message {
            JsonRpcMessage::Request(request) => self.unanswered.insert(request.id.clone()),
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.unanswered.remove(id);
                }
            }
            _ => {}
        }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for SessionTransport<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answered = match &item {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        let sending = self.transport.send(item);
        let unanswered = Arc::clone(&self.unanswered);
        async move {
            let sent = sending.await;
            if let Some(id) = answered {
                unanswered.remove(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        while !self.is_closed {
            let Some(message) = self.transport.receive().await else {
                self.is_closed = true;
                break;
            };
            self.has_request |= matches!(message, JsonRpcMessage::Request(_));
            if self.has_request {
                self.note(&message);
                return Some(message);
            }
        }
        // Nobody waits for what is not answered by then.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, self.unanswered.wait_until_empty()).await;
        None
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.transport.close().await
    }
}
