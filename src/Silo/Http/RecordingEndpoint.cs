using System.ComponentModel;
using KvCache.Engine.Recording;
using KvCache.Engine.Storage;
using KvCache.Silo.Options;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Http;

/// <summary><c>POST /admin/record</c>: the silo's load of the next time, as a trace that the simulator reads.</summary>
internal static partial class RecordingEndpoint
{
    public const string Path = "/admin/record";

    public static void MapRecording(this WebApplication app) =>
        app.MapGroup(Path).WithTags("admin").WithMetadata(new ForOperators()).AddEndpointFilterFactory(KnownQuery.Check)
            .MapPost("", RecordAsync).WithName("record").Produces(200, contentType: "application/gzip").ProducesProblem(400)
            .ProducesProblem(503).WithSummary("Records what is asked of this silo for some seconds: numbers, times and hints, no names.");

    private static async Task<IResult> RecordAsync(
        [FromQuery(Name = "seconds")][Description("How long.")] double seconds,
        HttpContext http, BlockStore store, IOptions<RecordingOptions> options, ILogger<RequestRecording> logger,
        IHostApplicationLifetime lifetime)
    {
        var (settings, longest) = (options.Value, options.Value.MaxDuration.TotalSeconds);
        if (!(seconds > 0 && seconds <= longest))
            return HttpProblem.Invalid(
                $"The recording is to last {seconds} s; more than 0 and at most {longest} ({RecordingOptions.Section}:MaxDuration) was "
                + "expected.").ToResult();
        var recording = new RequestRecording(new RecordingLimits
        {
            Duration = TimeSpan.FromSeconds(seconds),
            Bytes = settings.MaxSize.Bytes,
            Blocks = settings.MaxBlocks,
            Patience = settings.Patience,
        });
        if (!store.TryRecord(recording))
            return HttpProblem.Busy("A recording is being made, and there is one at a time. Wait for its end.").ToResult();
        try
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
            http.Response.ContentType = "application/gzip";
            http.Response.Headers.ContentDisposition = "attachment; filename=\"kvcache.jsonl.gz\"";
            await http.Response.Body.FlushAsync(CancellationToken.None); // so that its asker knows that it has begun
            var result = await recording.WriteAsync(http.Response.Body, end.Token);
            LogEnded(logger, result.Requests, result.Bytes, result.Reason, result.Lost);
        }
        catch (IOException)
        {
            // Nobody is there any more who wants it.
        }
        finally
        {
            store.EndRecording(recording);
        }

        return Results.Empty;
    }

    [LoggerMessage(
        Level = LogLevel.Information,
        Message = "A recording of {Requests} requests in {Bytes} bytes ended: {Reason}. {Lost} parts of requests came too fast and are missing")]
    private static partial void LogEnded(ILogger logger, long requests, long bytes, string reason, long lost);
}
