using System.Text.Json;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Mvc;

namespace KvCache.Silo.Http;

/// <summary>Turns whatever ends a request of the API into problem details.</summary>
internal sealed class ProblemWriter(IProblemDetailsService problems) : IExceptionHandler
{
    private static readonly HttpProblem BodyTooLarge = new(
        StatusCodes.Status413PayloadTooLarge,
        "body-too-large",
        "The body is too large.",
        $"The body is longer than this request may have: JSON has at most {HttpApiOptions.Section}:{nameof(HttpApiOptions.MaxJsonBytes)}, "
            + "a block at most 1 GiB. Send fewer blocks at a time.");

    public async ValueTask<bool> TryHandleAsync(HttpContext httpContext, Exception exception, CancellationToken cancellationToken)
    {
        var problem = exception switch
        {
            HttpProblemException e => e.Problem,
            BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => BodyTooLarge,
            BadHttpRequestException { StatusCode: StatusCodes.Status408RequestTimeout } => new HttpProblem(
                StatusCodes.Status408RequestTimeout, "too-slow", "The body arrived too slowly.",
                    "The body arrived slower than KvCache:DataPlane:MinBytesPerSecond. Send it again."),
            BadHttpRequestException e => HttpProblem.Invalid(Sentence(e.InnerException is JsonException json ? Sentence(json) : e.Message)),
            _ => new HttpProblem(
                StatusCodes.Status500InternalServerError, "failed", "The silo failed.",
                "The silo failed to answer; its log says why. Try again, or another silo."),
        };
        await WriteAsync(httpContext, problem);
        return true;
    }

    /// <summary>Answers with a problem; for what stands before the endpoints.</summary>
    public async ValueTask WriteAsync(HttpContext context, HttpProblem problem)
    {
        context.Response.StatusCode = problem.Status;
        if (problem.Status == StatusCodes.Status401Unauthorized)
            context.Response.Headers.WWWAuthenticate = "Bearer realm=\"kvcache\"";
        if (problem.Status == StatusCodes.Status503ServiceUnavailable)
            context.Response.Headers.RetryAfter = "1";
        await problems.TryWriteAsync(new ProblemDetailsContext { HttpContext = context, ProblemDetails = problem.ToDetails() });
    }

    /// <summary>Fills in what a status without a body means (no such path, no such method).</summary>
    public static void Complete(ProblemDetailsContext context)
    {
        ProblemDetails details = context.ProblemDetails;
        var request = context.HttpContext.Request;
        if (details is { Status: StatusCodes.Status413PayloadTooLarge, Detail: null })
        {
            var problem = BodyTooLarge.ToDetails();
            (details.Type, details.Title, details.Detail) = (problem.Type, problem.Title, problem.Detail);
        }

        details.Detail ??= details.Status switch
        {
            StatusCodes.Status404NotFound =>
                $"There is nothing at {HttpProblem.Shorten(request.Path)}. /openapi/v1.json describes what there is.",
            StatusCodes.Status405MethodNotAllowed =>
                $"{request.Method} is not a method of {HttpProblem.Shorten(request.Path)}. /openapi/v1.json describes what there is.",
            StatusCodes.Status415UnsupportedMediaType => "A JSON body was expected. Send it with Content-Type: application/json.",
            _ => details.Title,
        };
    }

    // Without the names of classes that the reader's messages have.
    private static string Sentence(JsonException json) =>
        json.Path is { } path
        ? $"the JSON at {HttpProblem.Shorten(path)} (line {json.LineNumber + 1}) is not of the right form"
        : "the body is not JSON";

    private static string Sentence(string message) =>
        $"The request cannot be understood: {message.TrimEnd('.')}. /openapi/v1.json describes what was expected.";
}
