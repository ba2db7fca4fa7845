using System.Buffers.Binary;
using KvCache.Silo.Connections;
using KvCache.Silo.LmCache;

namespace KvCache.Chaos.Fuzz;

/// <summary>Requests of <c>lm://</c>.</summary>
internal sealed class LmTarget(InnerSilo silo) : SessionTarget("lm", silo)
{
    private readonly byte[][] _corpus = Corpus.Of("lm");

    public override double Weight => 2;

    protected override int Requests => 32;

    protected override Connection Open(MemoryChannel channel) => new LmCacheSession(Silo.LmCache, channel, "fuzz", Silo.Failures);

    // Requests have one length, so that a changed one keeps the connection in step unless its length says otherwise.
    protected override byte[] Next(Mutator mutator)
    {
        var (valid, other) = Pick(_corpus, mutator);
        if (mutator.Dice.Next(20) == 0)
            return mutator.Mutate(valid, other);
        var request = valid.ToArray();
        for (var times = mutator.Dice.Next(4); times > 0; times--)
        {
            var field = mutator.Dice.Next(20) == 0 ? mutator.Dice.Next(2) : 2 + mutator.Dice.Next(7);
            if (mutator.Dice.Next(3) > 0)
                BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(field * sizeof(int)), (uint)mutator.Edge());
            else
                request[(9 * sizeof(int)) + mutator.Dice.Next(LmCacheHeader.RequestBytes - (9 * sizeof(int)))] = (byte)mutator.Dice.Next(
                    256);
        }

        return request;
    }
}
