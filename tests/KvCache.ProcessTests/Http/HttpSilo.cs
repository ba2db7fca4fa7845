using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests.Http;

/// <summary>The HTTP API of a silo, as any client would use it.</summary>
internal sealed class HttpSilo : IDisposable
{
    public HttpSilo(SiloProcess silo, string? token = null)
    {
        Client = new HttpClient
        {
            BaseAddress = new Uri(silo.Ready.Http.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal)),
            Timeout = Eventually.Bound
        };
        if (token is not null)
            Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
    }

    public HttpClient Client { get; }

    public void Dispose() => Client.Dispose();

    /// <summary>Registers a namespace by its fields.</summary>
    public async Task<string> RegisterAsync(CacheNamespace ns)
    {
        using var response = await PostAsync("/v1/namespaces", new JsonObject
        {
            ["model"] = ns.Model,
            ["layout"] = new JsonObject
            {
                ["tokensPerBlock"] = ns.Layout.TokensPerBlock,
                ["layers"] = ns.Layout.Layers,
                ["kvHeads"] = ns.Layout.KvHeads,
                ["headDim"] = ns.Layout.HeadDim,
                ["dataType"] = ns.Layout.DataType.ToString(),
            },
        });
        Assert.Equal(200, (int)response.StatusCode);
        var reply = await JsonAsync(response);
        Assert.Equal(ns.Id.ToString(), reply["id"]!.GetValue<string>());
        Assert.Equal(ns.Layout.BlockBytes, reply["blockBytes"]!.GetValue<int>());
        return reply["id"]!.GetValue<string>();
    }

    public static string Path(string ns, BlockHash hash, string query = "") => $"/v1/blocks/{ns}/{hash}{query}";

    public async Task<HttpResponseMessage> PutAsync(string path, byte[] block) => await Client.PutAsync(path, new ByteArrayContent(block));

    public async Task<HttpResponseMessage> HeadAsync(string path)
    {
        using var request = new HttpRequestMessage(HttpMethod.Head, path);
        return await Client.SendAsync(request);
    }

    public Task<HttpResponseMessage> PostAsync(string path, JsonNode body) => Client.PostAsJsonAsync(path, body);

    public static async Task<JsonNode> JsonAsync(HttpResponseMessage response) =>
        JsonNode.Parse(await response.Content.ReadAsStringAsync())!;

    /// <summary>Checks that an answer is a problem of a kind, and gives its detail.</summary>
    public static async Task<string> ProblemAsync(HttpResponseMessage response, int status, string? name = null)
    {
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, $"Status {(int)response.StatusCode} instead of {status}: {text}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        using var problem = JsonDocument.Parse(text);
        Assert.Equal(status, problem.RootElement.GetProperty("status").GetInt32());
        Assert.NotEmpty(problem.RootElement.GetProperty("title").GetString()!);
        if (name is not null)
            Assert.Equal($"urn:kvcache:problem:{name}", problem.RootElement.GetProperty("type").GetString());
        return problem.RootElement.GetProperty("detail").GetString()!;
    }
}
