//! The key service protocol, both ways with the real sops 3.13.3 (issue 4, "Must show" 4): its client
//! asks ours, and ours asks its server, over Unix sockets and TCP.

mod bed;
mod both_ways;
mod kinds;
mod prompt;
mod serving;
