//! One binary: every service in one process on one port, and the commands of an operator.

pub mod settings;
pub mod example;
pub mod metrics;
pub mod up;
pub mod migrate;
pub mod keys;
pub mod admins;
pub mod seed;
pub mod demo;
pub mod audit;
pub mod healthcheck;
