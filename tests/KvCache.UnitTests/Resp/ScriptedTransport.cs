using KvCache.Silo.Connections;

namespace KvCache.UnitTests.Resp;

/// <summary>Gives bytes in pieces of chosen sizes, and keeps what is sent.</summary>
internal sealed class ScriptedTransport(byte[] input, Func<int>? pieceSize = null) : ITransport
{
    private int _position;

    public List<byte> Sent { get; } = [];

    public int Sends { get; private set; }

    public int Receive(Span<byte> destination)
    {
        var count = Math.Min(Math.Min(destination.Length, pieceSize?.Invoke() ?? int.MaxValue), input.Length - _position);
        input.AsSpan(_position, count).CopyTo(destination);
        _position += count;
        return count;
    }

    public void Expect(int bytes)
    {
    }

    public void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third)
    {
        Sends++;
        Sent.AddRange(first);
        Sent.AddRange(second);
        Sent.AddRange(third);
    }
}
