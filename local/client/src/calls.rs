//! Calls to the daemon, and which of their failures mean that it is gone.

use bridge_proto::v1;
use tonic::Status;
use tonic::transport::Channel;

pub type DaemonClient = v1::daemon_client::DaemonClient<Channel>;

/// Whether a call failed because the daemon is gone: what a daemon answers comes without a source.
pub fn is_gone(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use bridge_proto::v1::ResolveRequest;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::service::Routes;
    use tonic::transport::{Endpoint, Server};

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_refuses_is_told_from_one_that_is_gone() {
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
        // and one that dies of a call.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let mut client = DaemonClient::new(endpoint.connect_lazy());
        let (died, _) = tokio::join!(client.resolve(ResolveRequest::default()), async {
            drop(listener.accept().await.unwrap());
        });
        assert!(is_gone(&died.unwrap_err()));
    }
}
