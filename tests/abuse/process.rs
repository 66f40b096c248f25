//! A service as a process of its own, to measure its memory.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Stdio},
};

use testing::eventually;

use crate::harness::{SOON, System, program};

/// A service process; killed when it is dropped.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts a service on the same backends as the system, and waits until it is ready.
    pub(crate) async fn start(system: &System, service: &str) -> Self {
        let address = free_address();
        let listen = format!("USHER_{}_LISTEN", service.replace('-', "_").to_uppercase());
        let child = program(service)
            .envs(system.slot.environment())
            .env(listen, address.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("the service starts");
        let ready = format!("http://{address}/readyz");
        eventually("the service is ready", SOON, async || {
            let answer = system.http.get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        Self { address, child }
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Most resident memory so far, in KiB.
    pub(crate) fn memory_at_most(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("the service runs");
        let line = status.lines().find(|line| line.starts_with(field)).expect("it has memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free address; the port a thousand above it, for metrics, is free, too.
fn free_address() -> SocketAddr {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = 20_000..30_000_u16;
    let start = u16::try_from(std::process::id() % 4_000).expect("below 4,000") * 2;
    let port =
        ports.by_ref().skip(usize::from(start)).find(|port| free(*port) && free(port + 1000));
    SocketAddr::from(([127, 0, 0, 1], port.expect("a port is free")))
}
