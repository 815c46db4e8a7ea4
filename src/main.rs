//! The program. Everything is in the library, so that tests, benches and fuzz targets reach the rooms.

/// Streams hold buffers of many sizes for minutes: of the allocators measured (bench/README.md) jemalloc keeps the least memory per
/// open stream while taking 15 to 30 % off the CPU of a request; mimalloc is as quick and doubles the memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    aicarpool::cli::main()
}
