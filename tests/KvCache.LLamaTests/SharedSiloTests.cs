using System.ClientModel;
using KvCache.Client;
using KvCache.LLamaSharp;
using KvCache.Processes;
using LLama;
using OpenAI;
using OpenAI.Chat;

namespace KvCache.LLamaTests;

public sealed class SharedSiloTests
{
    private const int Cached = 336; // the full blocks of a prompt of 341 tokens
    private const string Answer = "Lantern carries copper.";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    // One test, as it is one silo: what stands here happens in this order.
    [Fact]
    public async Task Processes_share_a_silo_serve_clients_of_OpenAI_and_go_on_when_it_is_killed()
    {
        await using var silo = SiloChild.Start(new SiloSettings());
        await silo.WaitUntilReadyAsync(path => File.Exists(path) ? path : null, Eventually.Bound, Token);
        var endpoint = "unix:" + silo.UnixPath;

        await using (var first = await ChatProcess.StartAsync(endpoint))
        {
            var cold = await first.AskAsync();
            var used = cold.Usage;
            Assert.Equal((Answer, ChatFinishReason.Stop), (cold.Content[0].Text, cold.FinishReason));
            Assert.Equal((341, 0), (used.InputTokenCount, used.InputTokenDetails.CachedTokenCount));
            Assert.Equal(used.InputTokenCount + used.OutputTokenCount, used.TotalTokenCount);
            Assert.True(await first.StopAsync(), "it was sent a signal to end, and did not"); // sends what it has computed
        }

        await using var second = await ChatProcess.StartAsync(endpoint);
        var (text, usage) = await second.StreamAsync();
        Assert.Equal((Answer, 341, Cached), (text, usage.InputTokenCount, usage.InputTokenDetails.CachedTokenCount));
        Assert.Contains(second.Lines, line => line.Contains("336 of 341 prompt tokens cached; ", StringComparison.Ordinal));

        await KillInTheMiddleOfAnAnswerAsync(silo, endpoint);

        var after = await second.AskAsync();
        Assert.Equal((Answer, 340), (after.Content[0].Text, after.Usage.InputTokenDetails.CachedTokenCount)); // its own context has it
        var refused = await Assert.ThrowsAsync<ClientResultException>(() => second.AskAsync(new string('x', 1100)));
        Assert.Contains("tokens and a conversation has room for", refused.Message, StringComparison.Ordinal);
    }

    private static async Task KillInTheMiddleOfAnAnswerAsync(SiloChild silo, string endpoint)
    {
        var options = new KvCacheClientOptions();
        options.Endpoints.Add(endpoint);
        await using var cache = new KvCacheClient(options);
        Assert.True(await cache.ConnectAsync(Token));
        var parameters = DrivenContext.Of(TestModels.Harbor);
        using var weights = LLamaWeights.LoadFromFile(parameters);
        await using var executor = LLamaPrefixExecutor.Create(
            weights, parameters, cache, new LLamaPrefixExecutorOptions { Prefixes = new LLamaPrefixCacheOptions { BlockTokens = 16 } });
        var text = "";
        LLamaAnswerUsage? usage = null;
        await foreach (var piece in executor.AnswerAsync(
            HarborModel.Prompt, ExecutorTests.Greedy(HarborModel.Answer.Length), Token))
        {
            text += piece.Text;
            usage = piece.Usage;
            if (text.Length == 5)
                await silo.Process.KillAsync();
        }

        Assert.Equal((HarborModel.Answer, Cached), (text, usage!.CachedTokens));
        var other = HarborModel.Prompt.Replace("Lantern carry", "Heron carry", StringComparison.Ordinal)[1..];
        var (_, missed) = await ExecutorTests.AnswerAsync(executor, other, ExecutorTests.Greedy(20));
        Assert.Equal((0, 20), (missed.CachedTokens, missed.AnswerTokens));
        Assert.NotEqual(MissReason.None, missed.Restore.Reason);
        await executor.FlushAsync(Token);
    }

    /// <summary><c>samples/Chat serve</c> as a process.</summary>
    private sealed class ChatProcess : IAsyncDisposable
    {
        private readonly List<string> _lines = [];
        private readonly ChildProcess _process;
        private ChatClient? _client;

        private ChatProcess(string endpoint) => _process = ChildProcess.Start(
            ProgramCommand.Own(
                "KvCache.Chat.dll",
                [
                    "serve", "--url", "http://127.0.0.1:0", "--cache", endpoint, "--model", TestModels.Harbor, "--block-tokens", "16",
                    "--assistant", "Pilot", "--threads", "1",
                ]),
            Append, Append);

        public IReadOnlyList<string> Lines
        {
            get
            {
                lock (_lines)
                    return [.. _lines];
            }
        }

        public static async Task<ChatProcess> StartAsync(string endpoint)
        {
            const string Ready = "Serves ";
            var chat = new ChatProcess(endpoint);
            try
            {
                var address = await chat._process.WaitUntilReadyAsync(
                    () => chat.Lines.FirstOrDefault(line => line.StartsWith(Ready, StringComparison.Ordinal)), Eventually.Bound, Token);
                chat._client = new ChatClient(
                    "harbor", new ApiKeyCredential("any"), new OpenAIClientOptions { Endpoint = new Uri(address[Ready.Length..]) });
                return chat;
            }
            catch
            {
                Report.Line(string.Join('\n', chat.Lines));
                await chat.DisposeAsync();
                throw;
            }
        }

        public async Task<ChatCompletion> AskAsync(string? system = null) =>
            await _client!.CompleteChatAsync(Messages(system), Options(), Token);

        public async Task<(string Text, ChatTokenUsage Usage)> StreamAsync()
        {
            var text = "";
            ChatTokenUsage? usage = null;
            await foreach (var update in _client!.CompleteChatStreamingAsync(Messages(null), Options(), Token))
            {
                text += string.Concat(update.ContentUpdate.Select(part => part.Text));
                usage = update.Usage ?? usage;
            }

            return (text, usage!);
        }

        public Task<bool> StopAsync() => _process.StopAsync();

        public ValueTask DisposeAsync() => _process.DisposeAsync();

        private static ChatCompletionOptions Options() => new() { Temperature = 0, MaxOutputTokenCount = 60 };

        // Which make the prompt of the known answer.
        private static ChatMessage[] Messages(string? system)
        {
            const string Before = "System: ", Between = "\nUser: ";
            var prompt = HarborModel.Prompt;
            var user = prompt.IndexOf(Between, StringComparison.Ordinal);
            return
            [
                new SystemChatMessage(system ?? prompt[Before.Length..user]),
                new UserChatMessage(prompt[(user + Between.Length)..prompt.LastIndexOf('\n')]),
            ];
        }

        private void Append(string line)
        {
            lock (_lines)
                _lines.Add(line);
        }
    }
}
