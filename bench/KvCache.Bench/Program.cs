using KvCache.Bench.Cli;
using KvCache.Bench.Persist;
using KvCache.Bench.Resp;
using KvCache.Bench.Transfer;

return await BenchCommand.Create(new TransferScenario(), new PersistScenario(), new RespScenario()).Parse(args).InvokeAsync();
