using KvCache.Chaos.Cli;

return await ChaosCommand.Create().Parse(args).InvokeAsync();
