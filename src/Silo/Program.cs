using System.CommandLine;
using KvCache.Silo.Hosting;

// The silo bounds its own end. The command line's patience would cut it short with another exit code.
var invocation = new InvocationConfiguration { ProcessTerminationTimeout = Timeout.InfiniteTimeSpan };
return await SiloCommand.Create().Parse(args).InvokeAsync(invocation);
