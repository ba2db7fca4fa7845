using KvCache.Bench.Cli;
using KvCache.Bench.Transfer;

return await BenchCommand.Create(new TransferScenario()).Parse(args).InvokeAsync();
