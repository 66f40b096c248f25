//! The ingress service as a process of its own.

fn main() -> std::process::ExitCode {
    platform::main("ingress", ingress::start)
}
