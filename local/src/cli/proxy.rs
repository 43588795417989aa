//! `bridge proxy`: a proxy into the cluster, for programs that run already.

use std::io;
use std::sync::Arc;

use bridge_client::Attached;
use bridge_inside::network::Network;
use bridge_inside::proxy::Proxy;

use super::args::ProxyArgs;
use super::attach;
use super::error::Failed;
use super::inside::choice;
use super::interrupt::asked_to_end;
use super::output;

/// The listener's name, for people.
const WHAT: &str = "bridge proxy";

pub(crate) async fn run(args: ProxyArgs) -> Result<(), Failed> {
    let mut attached = attach::without_listening(args.target.clone(), args.cluster.clone()).await?;
    let proxy = match bound(&mut attached, &args).await {
        Ok(proxy) => proxy,
        Err(failed) => return attach::end(attached).await.and(Err(failed)),
    };
    let mut attached = attached.kept(output::teller());
    let served = serve(&mut attached, proxy, &args).await;
    let ended = attach::end(attached).await;
    served.and(ended)
}

/// Binds a port that no requests come to.
async fn bound(attached: &mut Attached, args: &ProxyArgs) -> Result<Proxy, Failed> {
    let failed =
        |error: io::Error| Failed::internal(format!("cannot listen on port {}: {error}", args.listen));
    let proxy = Proxy::bind(args.listen).await.map_err(failed)?;
    attached.listens(vec![proxy.address.port().into()], WHAT).await?;
    Ok(proxy)
}

async fn serve(attached: &mut Attached, proxy: Proxy, args: &ProxyArgs) -> Result<(), Failed> {
    let choice = choice(&args.scope)?;
    let surroundings = attached.surroundings().await?;
    let network = Arc::new(Network::of(attached, &surroundings, choice));
    let address = proxy.address;
    output::print(&format!("export ALL_PROXY=socks5h://{address} HTTPS_PROXY=http://{address}\n"))?;
    output::note("  stop with Ctrl-C\n");
    tokio::select! {
        never = proxy.serve(network, output::teller()) => match never {},
        () = asked_to_end() => Ok(()),
    }
}
