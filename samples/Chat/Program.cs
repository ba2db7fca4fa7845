using System.CommandLine;
using KvCache.Chat.Commands;
using LLama.Native;

// llama.cpp tells a page about each model; what is wrong with one is enough.
NativeLogConfig.llama_log_set((level, message) =>
{
    if (level == LLamaLogLevel.Error)
        Console.Error.Write(message);
});
// Longer than an engine takes to send what it computed last.
return await ChatCommand.Create().Parse(args).InvokeAsync(
    new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromSeconds(15) });
