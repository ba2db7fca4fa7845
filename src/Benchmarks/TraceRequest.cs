using System.Buffers.Binary;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace KvCache.Benchmarks;

/// <summary>One request of a workload trace in the format of Mooncake (Qin et al., FAST 2025).</summary>
/// <param name="Timestamp">Arrival in milliseconds.</param>
/// <param name="InputLength">Tokens of the prompt.</param>
/// <param name="OutputLength">Tokens of the answer.</param>
/// <param name="HashIds">One id for every block of the prompt; equal ids are equal prefixes up to there.</param>
/// <param name="Session">The conversation it belongs to, where a trace tells.</param>
/// <param name="End">How the answer ended, where a trace tells: <c>tool_use</c>, <c>end_turn</c>, <c>one_shot</c>, or empty.</param>
/// <param name="BlockTokens">Tokens of a block; the last one of a request may have fewer. Where a trace does not tell, <see
/// cref="TokensPerBlock"/>.</param>
/// <param name="Priority">Of its hint, 0 to 100.</param>
/// <param name="Retention">Of its hint, in seconds.</param>
public sealed record TraceRequest(
    long Timestamp, int InputLength, int OutputLength, IReadOnlyList<int> HashIds, int? Session = null, string? End = null,
    int BlockTokens = TraceRequest.TokensPerBlock, int? Priority = null, double? Retention = null)
{
    /// <summary>Tokens of a block in the public traces.</summary>
    public const int TokensPerBlock = 512;

    /// <summary>What policies are told of it; null for nothing.</summary>
    [JsonIgnore]
    public CacheHint? Hint => AnswerEnd == AnswerEnd.Unknown && Priority is null && Retention is null ? null : new CacheHint
    {
        End = AnswerEnd,
        Priority = Priority,
        Retention = Retention is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
    };

    /// <summary><see cref="End"/> as policies are told it.</summary>
    [JsonIgnore]
    public AnswerEnd AnswerEnd => End switch
    {
        "tool_use" or "tool_call" => AnswerEnd.ToolCall,
        "end_turn" or "end_of_turn" => AnswerEnd.EndOfTurn,
        "one_shot" => AnswerEnd.OneShot,
        _ => AnswerEnd.Unknown,
    };

    /// <summary>The full blocks of the prompt. Their hashes are made of the trace's ids, which name prefixes as hashes do.</summary>
    internal PrefixChain Chain()
    {
        var hashes = new BlockHash[Math.Min(HashIds.Count, InputLength / TokensPerBlock)];
        Span<byte> bytes = stackalloc byte[BlockHash.Size];
        for (var i = 0; i < hashes.Length; i++)
        {
            bytes.Clear();
            BinaryPrimitives.WriteInt32LittleEndian(bytes, HashIds[i] + 1);
            hashes[i] = new BlockHash(SHA256.HashData(bytes));
        }

        return PrefixChain.FromHashes(hashes, TokensPerBlock);
    }

    /// <summary>Reads a trace, one JSON object a line; compressed by gzip if its name ends with <c>.gz</c>.</summary>
    /// <exception cref="IOException">The file cannot be read, or a line is not a request.</exception>
    public static List<TraceRequest> Read(string path)
    {
        var requests = new List<TraceRequest>();
        using var file = File.OpenRead(path);
        using Stream stream = path.EndsWith(".gz", StringComparison.Ordinal) ? new GZipStream(file, CompressionMode.Decompress) : file;
        using var reader = new StreamReader(stream);
        while (reader.ReadLine() is { } line)
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
