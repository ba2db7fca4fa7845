using System.CommandLine;
using KvCache.Silo;

// The library ends a process two seconds after a signal; a silo may take longer to end well (HostOptions.ShutdownTimeout).
return await SiloCommand.Create().Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromSeconds(30) });
