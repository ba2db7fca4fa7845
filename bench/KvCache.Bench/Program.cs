using KvCache.Bench.Cli;
using KvCache.Bench.Codec;
using KvCache.Bench.Cores;
using KvCache.Bench.Disk;
using KvCache.Bench.FirstToken;
using KvCache.Bench.Lookup;
using KvCache.Bench.Mixed;
using KvCache.Bench.Persist;
using KvCache.Bench.Resp;
using KvCache.Bench.Roi;
using KvCache.Bench.Simulation;
using KvCache.Bench.Store;
using KvCache.Bench.Strategies;
using KvCache.Bench.Transfer;

Scenario[] scenarios =
[
    new TransferScenario(),
    new LookupScenario(),
    new StoreScenario(),
    new DiskScenario(),
    new CoresScenario(),
    new PersistScenario(),
    new RespScenario(),
    new MixedScenario(),
    new SimulationScenario(),
    new StrategiesScenario(),
    new RoiScenario(),
    new CodecScenario(),
    new TtftScenario(),
];
return await BenchCommand.Create([.. scenarios, new AllScenario(scenarios)]).Parse(args).InvokeAsync();
