//! What a program of the laptop needs to run as if it stood in a pod of the target: the cluster's `network`, and the `files`
//! of its volumes. Both come by way of the daemon; neither knows of the command line.

pub mod files;
pub mod network;
