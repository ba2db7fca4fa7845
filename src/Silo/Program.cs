using System.CommandLine;
using KvCache.Silo.Hosting;

// Longer than the silo's own shutdown time, so that a drain is not cut short by the command line.
var invocation = new InvocationConfiguration { ProcessTerminationTimeout = SiloCommand.ShutdownTimeout + TimeSpan.FromSeconds(5) };
return await SiloCommand.Create().Parse(args).InvokeAsync(invocation);
