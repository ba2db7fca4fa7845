using System.Buffers.Binary;
using System.Text.Json;
using KvCache.Checksums;
using KvCache.Engine.Events;
using KvCache.Engine.Index;
using KvCache.Grains.Prefixes;
using KvCache.Silo.Http;
using KvCache.Silo.Membership;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Payloads;

namespace KvCache.Chaos.Fuzz;

/// <summary>A parser that is called with bytes, and may say no in one way only.</summary>
/// <param name="format">Its corpus, and its name in the table.</param>
/// <param name="parse">Parses.</param>
/// <param name="isRefusal">The exceptions that say no.</param>
/// <param name="repair">Makes a changed input whole again, so that more than its checksum is looked at; null where there is none.</param>
internal sealed class ParserTarget(
    string format, ParserTarget.Parser parse, Func<Exception, bool> isRefusal, Action<byte[]>? repair = null)
    : FuzzTarget(format)
{
    private const int AtOnce = 64;
    private readonly byte[][] _corpus = Corpus.Of(format);

    /// <summary>Parses bytes, or throws.</summary>
    public delegate void Parser(ReadOnlySpan<byte> input);

    /// <summary>All of them.</summary>
    public static IEnumerable<ParserTarget> All()
    {
        yield return new ParserTarget("deltas", static input => IndexDeltaCodec.Decode(input, new IndexDelta[256]), IsFormat);
        yield return new ParserTarget("events", static input => KvEventReader.Read(input), IsFormat);
        yield return new ParserTarget("namespace", static input => CacheNamespace.Decode(input), IsFormat);
        yield return new ParserTarget("payload", ReadPayload, static _ => false, RepairPayload);
        yield return new ParserTarget(
            "descriptor",
            static input => new PrefixDescriptorSerializer().Deserialize<PrefixDescriptor>(BinaryData.FromBytes(input.ToArray())),
            static _ => false,
            static input =>
            {
                if (input.Length >= sizeof(uint))
                    BinaryPrimitives.WriteUInt32LittleEndian(input.AsSpan()[^sizeof(uint)..], BlockChecksum.Compute(
                        input.AsSpan()[..^sizeof(uint)]));
            });
        yield return new ParserTarget("http-namespace", static input =>
            JsonSerializer.Deserialize(input, HttpJsonContext.Default.NamespaceRequest)?.ToNamespace("default"), IsHttp);
        yield return new ParserTarget("http-match", static input =>
            JsonSerializer.Deserialize(input, HttpJsonContext.Default.MatchRequest)?.ToHashes(KvLayout.Opaque(512, 16)), IsHttp);
        yield return new ParserTarget("member", static input => MemberRow.Read(System.Text.Encoding.UTF8.GetString(input)), IsHttp);
    }

    public override int Feed(Mutator mutator)
    {
        for (var i = 0; i < AtOnce; i++)
        {
            var (valid, other) = Pick(_corpus, mutator);
            var input = mutator.Mutate(valid, other);
            if (mutator.Dice.Next(4) > 0)
                repair?.Invoke(input);
            try
            {
                parse(input);
            }
            catch (Exception e) when (isRefusal(e))
            {
                // That is how it says no.
            }
            catch (Exception e)
            {
                throw new FuzzFailure($"The parser of {Name} threw", input, e);
            }
        }

        return AtOnce;
    }

    private static bool IsFormat(Exception e) => e is KvFormatException;

    private static bool IsHttp(Exception e) => e is JsonException or HttpProblemException or KvFormatException;

    // The checksums of the head and of the life.
    private static void RepairPayload(byte[] input)
    {
        if (input.Length < PayloadFormat.FixedBytes
            || PayloadFormat.ReadLength(input.AsSpan(0, PayloadFormat.FixedBytes), out var bytes) != PromoteOutcome.Promoted
                || bytes > input.Length)
            return;
        var life = input.AsSpan(PayloadFormat.LifeOffset, PayloadFormat.LifeBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(life[sizeof(long)..], BlockChecksum.Compute(life[..sizeof(long)]));
        var head = input.AsSpan(0, bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(
            head[^sizeof(uint)..],
            BlockChecksum.Append(
                BlockChecksum.Compute(head[..PayloadFormat.LifeOffset]),
                head[(PayloadFormat.LifeOffset + PayloadFormat.LifeBytes)..^sizeof(uint)]));
    }

    // As it is read from Redis: the fixed part, then as much more as that says.
    private static void ReadPayload(ReadOnlySpan<byte> input)
    {
        if (input.Length < PayloadFormat.FixedBytes
            || PayloadFormat.ReadLength(input[..PayloadFormat.FixedBytes], out var head) != PromoteOutcome.Promoted || head > input.Length)
            return;
        if (PayloadFormat.Read(input[..head], new LayoutMemo(), null, out _, out _) == PromoteOutcome.Promoted)
            PayloadFormat.Checksums(input[..head]);
    }
}
