using KvCache.Binary;

namespace KvCache.Silo.Tiers.Payloads;

/// <summary>
/// Turns layouts into their encodings and back, and remembers the last one: blocks that come one after the other mostly have the same
/// layout, and then share one object instead of keeping one each. For one thread.
/// </summary>
internal sealed class LayoutMemo
{
    private readonly WireWriter _encoded = new();
    private KvLayout? _layout;

    /// <summary>The encoding of a layout, valid until the next call.</summary>
    public ReadOnlySpan<byte> Encode(KvLayout layout)
    {
        if (!ReferenceEquals(layout, _layout))
        {
            _encoded.Reset();
            layout.WriteTo(_encoded);
            _layout = layout;
        }

        return _encoded.Written;
    }

    /// <summary>The layout of an encoding, or null when it is none.</summary>
    public KvLayout? Read(ReadOnlySpan<byte> encoded)
    {
        if (_layout is not null && _encoded.Written.SequenceEqual(encoded))
            return _layout;
        try
        {
            var reader = new WireReader(encoded);
            var layout = KvLayout.Read(ref reader);
            reader.End();
            Encode(layout);
            return layout;
        }
        catch (KvFormatException)
        {
            return null;
        }
    }
}
