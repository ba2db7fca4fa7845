using KvCache.Silo.Connections;
using KvCache.Silo.Resp;

namespace KvCache.Chaos.Fuzz;

/// <summary>Commands of Redis' protocol.</summary>
internal sealed class RespTarget(InnerSilo silo) : SessionTarget("resp", silo)
{
    private readonly byte[][] _corpus = Corpus.Of("resp");

    public override double Weight => 3;

    protected override int Requests => 32;

    protected override Connection Open(MemoryChannel channel) => new RespSession(Silo.Resp, channel, "fuzz", Silo.Failures);

    protected override byte[] Next(Mutator mutator)
    {
        var (valid, other) = Pick(_corpus, mutator);
        switch (mutator.Dice.Next(10))
        {
            case 0:
                return valid;
            case < 7: // the command stays whole, and its words change
                var words = Split(valid);
                var at = mutator.Dice.Next(words.Count);
                switch (mutator.Dice.Next(4))
                {
                    case 0:
                        words[at] = mutator.Mutate(words[at], other);
                        break;
                    case 1:
                        words[at] = System.Text.Encoding.ASCII.GetBytes(
                            (mutator.Dice.Next(2) == 0 ? "-" : "") + mutator.Edge().ToString(
                                System.Globalization.CultureInfo.InvariantCulture));
                        break;
                    case 2:
                        words.InsertRange(at, Split(other));
                        break;
                    default:
                        words.RemoveAt(at);
                        break;
                }

                return Join(words);
            default:
                return mutator.Mutate(valid, other);
        }
    }

    /// <summary>A command.</summary>
    internal static byte[] Join(IReadOnlyList<byte[]> words)
    {
        var result = new MemoryStream();
        result.Write(System.Text.Encoding.ASCII.GetBytes($"*{words.Count}\r\n"));
        foreach (var word in words)
        {
            result.Write(System.Text.Encoding.ASCII.GetBytes($"${word.Length}\r\n"));
            result.Write(word);
            result.Write("\r\n"u8);
        }

        return result.ToArray();
    }

    // The corpus has whole commands only.
    private static List<byte[]> Split(ReadOnlySpan<byte> command)
    {
        var words = new List<byte[]>();
        for (var rest = command[(command.IndexOf("\r\n"u8) + 2)..]; rest.Length > 0;)
        {
            var line = rest.IndexOf("\r\n"u8);
            var length = int.Parse(rest[1..line], System.Globalization.CultureInfo.InvariantCulture);
            words.Add(rest.Slice(line + 2, length).ToArray());
            rest = rest[(line + 4 + length)..];
        }

        return words;
    }
}
