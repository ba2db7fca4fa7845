using System.Reflection;
using System.Runtime.Loader;
using KvCache.ProcessTests.Http;
using KvCache.ProcessTests.Infrastructure;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using NJsonSchema.CodeGeneration.CSharp;
using NSwag;
using NSwag.CodeGeneration.CSharp;

namespace KvCache.ProcessTests;

/// <summary>Clients that are generated from the description of the HTTP API.</summary>
[Collection(typeof(CachingSilo))]
public sealed class OpenApiTests(CachingSilo silo)
{
    // What a user writes over the generated client; it compiles only where types are what they should be.
    private const string Program = """
        using System.IO;
        using System.Linq;
        using System.Net.Http;
        using System.Threading.Tasks;

        namespace Generated;

        public static class Program
        {
            public static async Task<string> RunAsync(HttpClient http, string address)
            {
                var client = new KvCacheHttpClient(http) { BaseUrl = address };
                var ns = await client.RegisterNamespaceAsync(new NamespaceRequest
                {
                    Model = "generated",
                    Layout = new LayoutFields
                    {
                        Layers = 2, KvHeads = 2, HeadDim = 16, TokensPerBlock = 4, DataType = LayoutFieldsDataType.Float16,
                    },
                });
                var block = Enumerable.Range(0, ns.BlockBytes).Select(i => (byte)(i * 7)).ToArray();
                var hash = new string('a', 64);
                var stored = await client.PutBlockAsync(
                    ns.Id, hash, ttl: 60.5, copies: 1, persisted: false, replace: true, parent: null, depth: 0, end: HintEnd.End_of_turn,
                    priority: 60, retention: null, kind: null, kvCache_Checksums: null, body: new MemoryStream(block));
                var matched = await client.MatchAsync(new MatchRequest { Namespaces = [ns.Id], Hashes = [hash] });

                using var read = await client.GetBlockAsync(
                    ns.Id, hash, first: 0, layers: 2, end: null, priority: null, retention: null, kind: null);
                var bytes = new MemoryStream();
                await read.Stream.CopyToAsync(bytes);
                var layers = read.Headers["KvCache-Layers"].Single();
                await client.DeleteBlockAsync(ns.Id, hash);
                var problem = "none";
                try
                {
                    await client.GetBlockAsync(ns.Id, hash, null, null, null, null, null, null);
                }
                catch (ApiException<ProblemDetails> e)
                {
                    problem = e.Result.Type;
                }

                var isStored = stored.Outcome == PutBlockReplyOutcome.Stored;
                var isSame = bytes.ToArray().SequenceEqual(block);
                return $"{isStored} {matched.Blocks + matched.Of} {isSame} {layers} {problem}";
            }
        }
        """;

    [Fact]
    public async Task The_client_that_NSwag_generates_compiles_and_puts_reads_and_deletes_a_block()
    {
        using var http = new HttpSilo(silo.Process);
        var document = await OpenApiDocument.FromJsonAsync(await http.Client.GetStringAsync("/openapi/v1.json"));
        var code = new CSharpClientGenerator(document, new CSharpClientGeneratorSettings
        {
            ClassName = "KvCacheHttpClient",
            CSharpGeneratorSettings = { Namespace = "Generated", JsonLibrary = CSharpJsonLibrary.SystemTextJson },
        }).GenerateFile();
        var run = Compile(code, Program).GetType("Generated.Program")!.GetMethod("RunAsync", BindingFlags.Public | BindingFlags.Static)!;
        using var client = new HttpClient();
        var answer = await (Task<string>)run.Invoke(null, [client, http.Client.BaseAddress!.ToString()])!;
        Assert.Equal("True 2 True 0-1/2 urn:kvcache:problem:block-not-stored", answer);
    }

    [Fact]
    public async Task The_tools_of_npm_accept_the_description_and_see_a_block_as_bytes()
    {
        var tools = Environment.GetEnvironmentVariable("KVCACHE_NPM_TOOLS");
        Assert.SkipWhen(
            string.IsNullOrEmpty(tools),
            "KVCACHE_NPM_TOOLS names no folder with node_modules of openapi-typescript, typescript@5 and @redocly/cli (npm install)");
        using var http = new HttpSilo(silo.Process);
        var folder = Directory.CreateTempSubdirectory("kvcache-openapi").FullName;
        try
        {
            var document = Path.Combine(folder, "v1.json");
            await File.WriteAllTextAsync(document, await http.Client.GetStringAsync("/openapi/v1.json"));
            await RunAsync(tools!, "redocly", "lint", document);

            // A format is a text to openapi-typescript unless it is told otherwise, as its guide shows for binary.
            var types = Path.Combine(folder, "types.mjs");
            await File.WriteAllTextAsync(types, $$"""
                import fs from "node:fs";
                import openapiTS, { astToString } from "{{tools}}/node_modules/openapi-typescript/dist/index.mjs";
                import ts from "{{tools}}/node_modules/typescript/lib/typescript.js";
                const blob = ts.factory.createTypeReferenceNode("Blob");
                const transform = (schema) => schema.format === "binary" ? blob : undefined;
                const ast = await openapiTS(new URL("file://{{document}}"), { transform });
                fs.writeFileSync("{{folder}}/v1.ts", astToString(ast));
                """);
            await RunAsync("node", types);
            await File.WriteAllTextAsync(Path.Combine(folder, "use.ts"), """
                import type { operations } from "./v1";
                type Body = operations["getBlock"]["responses"][200]["content"]["application/octet-stream"];
                const body: Body = new Blob([]);
                const sent: operations["putBlock"]["requestBody"]["content"]["application/octet-stream"] = body;
                const ttl: operations["putBlock"]["parameters"]["query"] = { ttl: 1.5, copies: 2, end: "one_shot" };
                export { sent, ttl };
                """);
            await RunAsync(
                tools!, "tsc", "--strict", "--noEmit", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler",
                "--lib", "es2022,dom", Path.Combine(folder, "use.ts"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static Assembly Compile(params string[] sources)
    {
        var options = new CSharpParseOptions(LanguageVersion.Latest);
        var references = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(path => Path.GetFileName(path).StartsWith("System.", StringComparison.Ordinal)
                || Path.GetFileName(path) is "netstandard.dll" or "mscorlib.dll")
            .Select(path => MetadataReference.CreateFromFile(path));
        var compilation = CSharpCompilation.Create(
            "Generated", sources.Select(source => CSharpSyntaxTree.ParseText(source, options)), references,
            new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary));
        using var image = new MemoryStream();
        var result = compilation.Emit(image);
        Assert.True(
            result.Success,
            string.Join('\n', result.Diagnostics.Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error).Take(10)));
        image.Position = 0;
        return AssemblyLoadContext.Default.LoadFromStream(image);
    }

    private static Task RunAsync(string tools, string tool, params string[] arguments) =>
        RunAsync("node", [Path.Combine(tools, "node_modules", ".bin", tool), .. arguments]);

    private static async Task RunAsync(string program, params string[] arguments)
    {
        var result = await Report.RunAsync(ProgramCommand.Of(program, arguments), TimeSpan.FromMinutes(5));
        Assert.True(result.ExitCode == 0, $"{program} {string.Join(' ', arguments)}:\n{result.Output}{result.Errors}");
    }
}
