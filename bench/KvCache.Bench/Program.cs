using KvCache.Bench.Cli;
using KvCache.Bench.Lookup;
using KvCache.Bench.Persist;
using KvCache.Bench.Simulation;
using KvCache.Bench.Transfer;

return await BenchCommand.Create(
    new TransferScenario(),
    new LookupScenario(),
    new PersistScenario(),
    new SimulationScenario()).Parse(args).InvokeAsync();
