using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Running;
using KvCache.MicroBench;

// In this process: the project that BenchmarkDotNet would generate and build does not know the repository's packages and warnings.
BenchmarkSwitcher.FromAssembly(typeof(ChecksumBenchmarks).Assembly).Run([.. args, "--inProcess"], DefaultConfig.Instance);
