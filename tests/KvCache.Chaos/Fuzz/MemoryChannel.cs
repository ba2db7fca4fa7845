using System.Net.Sockets;
using KvCache.Engine.Wire;

namespace KvCache.Chaos.Fuzz;

/// <summary>A connection without a network: what is received was put there before, what is sent is shown to somebody.</summary>
internal sealed class MemoryChannel : ByteChannel
{
    private readonly LinkedList<byte[]> _inputs = new();
    private byte[] _current = [];
    private int _position;

    public MemoryChannel()
        : base(new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)) // it is asked what kind it is, and nothing else
    {
    }

    /// <summary>Hears what is sent.</summary>
    public Action<ReadOnlySpan<byte>>? Sent { get; set; }

    /// <summary>Inputs whose first byte was received.</summary>
    public int Begun { get; private set; }

    /// <summary>The input that is being received.</summary>
    public byte[] Current => _current;

    public override bool LendsPages => false;

    /// <summary>Puts something there to be received.</summary>
    public void Add(byte[] input) => _inputs.AddLast(input);

    /// <summary>Puts something there to be received next.</summary>
    public void AddFirst(byte[] input) => _inputs.AddFirst(input);

    public override void Handshake()
    {
    }

    public override int Receive(Span<byte> destination)
    {
        while (_position == _current.Length)
        {
            if (_inputs.First is not { } next)
                return 0;
            _inputs.RemoveFirst();
            (_current, _position) = (next.Value, 0);
            Begun++;
        }

        var count = Math.Min(destination.Length, _current.Length - _position);
        _current.AsSpan(_position, count).CopyTo(destination);
        _position += count;
        return count;
    }

    public override void WaitForBytes()
    {
    }

    public override unsafe long Send(ref Span<UnmanagedPiece> pieces)
    {
        long sent = 0;
        foreach (var piece in pieces)
        {
            Sent?.Invoke(new ReadOnlySpan<byte>((void*)piece.Start, (int)piece.Length));
            sent += piece.Length;
        }

        pieces = default;
        return sent;
    }

    public override void SetLowWater(int bytes)
    {
    }
}
