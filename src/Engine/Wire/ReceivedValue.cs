using System.Buffers;

namespace KvCache.Engine.Wire;

/// <summary>Takes a value out of a frame: what is complete and verified is handed to the writer, nothing else is.</summary>
/// <param name="destination">Where its bytes go; null for its label alone.</param>
internal sealed class ReceivedValue(IBufferWriter<byte>? destination)
{
    /// <summary>Bytes of the value.</summary>
    public int Length { get; private set; }

    /// <summary>The label, once it is there.</summary>
    public byte[] Label { get; private set; } = [];

    /// <summary>Whether only the label is wanted.</summary>
    public bool IsLabelOnly => destination is null;

    /// <summary>Memory for a value.</summary>
    public Span<byte> Take(int length) => length == 0 ? default : destination!.GetSpan(length)[..length];

    /// <summary>The value is complete and verified.</summary>
    public void Complete(int length, byte[] label)
    {
        (Length, Label) = (length, label);
        if (length > 0)
            destination?.Advance(length);
    }
}
