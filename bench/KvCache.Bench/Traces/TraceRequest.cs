using System.Text.Json;
using System.Text.Json.Serialization;

namespace KvCache.Bench.Traces;

/// <summary>One request of a workload trace in the format of Mooncake (Qin et al., FAST 2025).</summary>
/// <param name="Timestamp">Arrival in milliseconds.</param>
/// <param name="InputLength">Tokens of the prompt.</param>
/// <param name="OutputLength">Tokens of the answer.</param>
/// <param name="HashIds">One id for every <see cref="TokensPerBlock"/> tokens of the prompt; equal ids are equal prefixes up to there.</param>
internal sealed record TraceRequest(long Timestamp, int InputLength, int OutputLength, int[] HashIds)
{
    /// <summary>Tokens of a block; the last one of a request may have fewer.</summary>
    public const int TokensPerBlock = 512;

    /// <summary>Reads a trace, one JSON object a line.</summary>
    /// <exception cref="IOException">The file cannot be read, or a line is not a request.</exception>
    public static List<TraceRequest> Read(string path)
    {
        var requests = new List<TraceRequest>();
        foreach (var line in File.ReadLines(path))
            requests.Add(Parse(line) ?? throw new IOException($"Line {requests.Count + 1} of {path} is not a request."));
        return requests;
    }

    internal static TraceRequest? Parse(string line)
    {
        try
        {
            return JsonSerializer.Deserialize(line, TraceJson.Default.TraceRequest) is { HashIds: not null } request ? request : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(TraceRequest))]
internal sealed partial class TraceJson : JsonSerializerContext;
