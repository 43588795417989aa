//! `bridge env`: the target's environment, for programs that bridge does not start.

use super::args::EnvArgs;
use super::attach;
use super::error::Failed;
use super::output;
use super::variables::{describe, render};
use bridge_inside::environment::of_the_target;

pub(crate) async fn run(args: EnvArgs) -> Result<(), Failed> {
    let mut attached = attach::without_listening(args.target, args.cluster).await?;
    let surroundings = attached.surroundings().await;
    // The session is released even if this has failed.
    let ended = attach::end(attached).await;
    let inside = surroundings?.inside.unwrap_or_default();
    let chosen = of_the_target(&inside, &args.variables.choice());
    let (text, untold) = render(&chosen.variables, args.format);
    output::print_data(&text)?;
    output::note(&describe(&chosen.left_out));
    if !untold.is_empty() {
        output::note(&format!(
            "  left out, because this format cannot express them: {}\n",
            untold.join(", ")
        ));
    }
    ended
}
