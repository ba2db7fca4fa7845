using System.CommandLine;
using KvCache.InferenceNode;

var root = new RootCommand("A small inference node: runs Llama models with TorchSharp.") { GenerateCommand.Create() };
return root.Parse(args).Invoke();
