using System.CommandLine;
using KvCache.QuickStart;

// Ctrl+C stops the silo, which takes its time; the default of two seconds would leave it behind.
var configuration = new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromSeconds(20) };
return await QuickStartCommand.Create().Parse(args).InvokeAsync(configuration);
