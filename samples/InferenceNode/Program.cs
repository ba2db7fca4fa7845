using System.CommandLine;
using KvCache.InferenceNode;

var root = new RootCommand(
    "A small inference node: runs Llama models with TorchSharp, with a KV cache or without.") { GenerateCommand.Create() };
return await root.Parse(args).InvokeAsync();
