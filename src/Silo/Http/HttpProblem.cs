using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;

namespace KvCache.Silo.Http;

/// <summary>
/// A refusal of the HTTP API, as problem details (RFC 9457). The type is a stable name for programs; the detail says what was wrong, what
/// was expected and what to do.
/// </summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Name">Last part of the type, <c>urn:kvcache:problem:{Name}</c>.</param>
/// <param name="Title">What kind of problem it is, always the same for a name.</param>
/// <param name="Detail">A sentence about this occurrence.</param>
internal sealed record HttpProblem(int Status, string Name, string Title, string Detail)
{
    private const string TypePrefix = "urn:kvcache:problem:";

    public static HttpProblem Invalid(string detail) =>
        new(StatusCodes.Status400BadRequest, "invalid-request", "The request is not valid.", detail);

    public static HttpProblem Unauthenticated(string detail) =>
        new(StatusCodes.Status401Unauthorized, "unauthenticated", "The request has no valid token.", detail);

    public static HttpProblem Forbidden(string detail) =>
        new(StatusCodes.Status403Forbidden, "forbidden", "The request is not allowed.", detail);

    public static HttpProblem Misdirected(string detail) =>
        new(StatusCodes.Status421MisdirectedRequest, "misdirected", "The request is not for this silo.", detail);

    public static HttpProblem Busy(string detail) => new(StatusCodes.Status503ServiceUnavailable, "busy", "The silo is busy.", detail);

    public static HttpProblem LimitReached(string detail) =>
        new(StatusCodes.Status507InsufficientStorage, "limit-reached", "A limit of the silo is reached.", detail);

    /// <summary>Also for another tenant's namespace: whether it exists is not told.</summary>
    public static HttpProblem NamespaceUnknown(string text) => new(
        StatusCodes.Status404NotFound,
        "namespace-unknown",
        "The namespace is not known.",
        $"No namespace '{Shorten(text)}' of this tenant is registered with this silo, which forgets registrations when it restarts. "
            + "Register it with POST /v1/namespaces, or use its encoding (base64url) in the place of the id.");

    public static HttpProblem NotStored(BlockHash hash) => new(
        StatusCodes.Status404NotFound,
        "block-not-stored",
        "The block is not stored.",
        $"Nobody has block {hash} of this namespace (any more): it was never stored, has expired, was deleted or had to make room. "
            + "Compute it, and store it with PUT.");

    public ProblemHttpResult ToResult() => TypedResults.Problem(ToDetails());

    public ProblemDetails ToDetails() => new() { Status = Status, Type = TypePrefix + Name, Title = Title, Detail = Detail };

    /// <summary>Input as it may be repeated in a sentence.</summary>
    public static string Shorten(string text) => text.Length <= 80 ? text : text[..79] + "…";
}

/// <summary>Ends a request with a problem. For what a client gets wrong; misses are results.</summary>
internal sealed class HttpProblemException(HttpProblem problem) : Exception(problem.Detail)
{
    public HttpProblem Problem => problem;
}
