using KvCache.Silo;

return await SiloCommand.Create().Parse(args).InvokeAsync();
