//! Calls to the daemon, and the failures that mean that it is gone.

use bridge_proto::v1;
use tonic::Status;
use tonic::transport::Channel;

pub type DaemonClient = v1::daemon_client::DaemonClient<Channel>;

/// Whether a call failed because the daemon is gone: a daemon's own answers have no source.
pub fn is_gone(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use bridge_proto::v1::ResolveRequest;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::service::{InterceptorLayer, Routes};
    use tonic::transport::{Endpoint, Server};

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_refuses_is_distinguished_from_one_that_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let mut client = DaemonClient::new(connect());
        // One that refuses every call,
        let daemon = Server::builder().add_routes(Routes::default());
        let serving = daemon.serve_with_incoming(TcpListenerStream::new(listener));
        let refused = tokio::select! {
            refused = client.resolve(ResolveRequest::default()) => refused.unwrap_err(),
            served = serving => panic!("{served:?}"),
        };
        assert!(!is_gone(&refused), "{refused:?}");
        // none,
        let gone = DaemonClient::new(connect()).resolve(ResolveRequest::default()).await.unwrap_err();
        assert!(is_gone(&gone), "{gone:?}");
        // and one that dies during a call.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let mut client = DaemonClient::new(endpoint.connect_lazy());
        let (died, _) = tokio::join!(client.resolve(ResolveRequest::default()), async {
            drop(listener.accept().await.unwrap());
        });
        assert!(is_gone(&died.unwrap_err()));
    }

    #[tokio::test]
    async fn a_daemon_that_answers_is_not_gone_whatever_it_answers() {
        use tonic::Code::*;
        for code in [
            Unavailable,
            Cancelled,
            Unknown,
            Internal,
            DeadlineExceeded,
            ResourceExhausted,
            Aborted,
            DataLoss,
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let channel = Endpoint::from_shared(endpoint).unwrap().connect_lazy();
            let mut client = DaemonClient::new(channel);
            let answers = InterceptorLayer::new(move |_| Err(Status::new(code, "transport error")));
            let daemon = Server::builder().layer(answers).add_routes(Routes::default());
            let serving = daemon.serve_with_incoming(TcpListenerStream::new(listener));
            let answer = tokio::select! {
                answer = client.resolve(ResolveRequest::default()) => answer.unwrap_err(),
                served = serving => panic!("{served:?}"),
            };
            assert_eq!(answer.code(), code);
            assert!(!is_gone(&answer), "{answer:?}");
        }
    }
}
