using System.Text.Json;
using System.Text.Json.Nodes;
using KvCache.Chat.Commands;
using KvCache.LLamaSharp;
using LLama.Exceptions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace KvCache.Chat.Serving;

/// <summary>OpenAI's chat completions over HTTP.</summary>
internal sealed class ChatServer(ChatEngine engine)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    private string Model => engine.Executor.Prefixes.Namespace.Model;

    /// <summary>Serves until it is cancelled. The line "Serves ADDRESS" tells that it does.</summary>
    public static async Task RunAsync(ChatEngine engine, string url, CancellationToken cancellationToken)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        await using var app = builder.Build();
        app.Urls.Add(url);
        var server = new ChatServer(engine);
        app.MapPost("/v1/chat/completions", server.CompleteAsync);
        app.MapGet("/v1/models", server.Models);
        await app.StartAsync(cancellationToken);
        Console.WriteLine($"Serves {app.Urls.First()}/v1");
        try
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            await app.StopAsync(CancellationToken.None);
        }
    }

    private IResult Models() => Results.Json(new JsonObject
    {
        ["object"] = "list",
        ["data"] = new JsonArray(new JsonObject { ["id"] = Model, ["object"] = "model", ["created"] = 0, ["owned_by"] = "kvcache" }),
    });

    private async Task CompleteAsync(HttpContext http)
    {
        CompletionRequest? request;
        try
        {
            request = await http.Request.ReadFromJsonAsync<CompletionRequest>(Json, http.RequestAborted);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            await FailAsync(http, "The body is not a request for a chat completion: " + e.Message);
            return;
        }

        if ((request is null ? "The body is empty." : request.FindProblem()) is { } problem)
        {
            await FailAsync(http, problem);
            return;
        }

        var answer = new CompletionAnswer(Model);
        try
        {
            if (request!.Stream)
                await StreamAsync(http, request, answer);
            else
                await AnswerAsync(http, request, answer);
        }
        catch (Exception e) when (e is ContextOverflowException or ArgumentException && !http.Response.HasStarted)
        {
            await FailAsync(http, e.Message);
        }
        catch (OperationCanceledException) when (http.RequestAborted.IsCancellationRequested)
        {
            // The client has gone, and its answer with it.
        }
    }

    private async Task AnswerAsync(HttpContext http, CompletionRequest request, CompletionAnswer answer)
    {
        var response = await engine.Client.GetResponseAsync(request.ToMessages(), request.ToOptions(), http.RequestAborted);
        var usage = (LLamaAnswerUsage)response.RawRepresentation!;
        Console.WriteLine(UsageLine.Of(usage));
        await http.Response.WriteAsJsonAsync(answer.Whole(response.Text, response.FinishReason, usage), http.RequestAborted);
    }

    private async Task StreamAsync(HttpContext http, CompletionRequest request, CompletionAnswer answer)
    {
        var isFirst = true;
        await foreach (var update in engine.Client.GetStreamingResponseAsync(
            request.ToMessages(), request.ToOptions(), http.RequestAborted))
        {
            if (isFirst)
            {
                http.Response.ContentType = "text/event-stream";
                http.Response.Headers.CacheControl = "no-cache";
            }

            var usage = update.RawRepresentation as LLamaAnswerUsage;
            await SendAsync(http, answer.Piece(usage is null ? update.Text : null, isFirst, update.FinishReason).ToJsonString());
            isFirst = false;
            if (usage is null)
                continue;
            Console.WriteLine(UsageLine.Of(usage));
            if (request.StreamOptions?.IncludeUsage == true)
                await SendAsync(http, answer.Usage(usage).ToJsonString());
        }

        await SendAsync(http, "[DONE]");
    }

    private static async Task SendAsync(HttpContext http, string data)
    {
        await http.Response.WriteAsync($"data: {data}\n\n", http.RequestAborted);
        await http.Response.Body.FlushAsync(http.RequestAborted);
    }

    private static Task FailAsync(HttpContext http, string message)
    {
        http.Response.StatusCode = StatusCodes.Status400BadRequest;
        return http.Response.WriteAsJsonAsync(CompletionAnswer.Error(message, "invalid_request_error"), http.RequestAborted);
    }
}
