using System.Globalization;
using System.Text;

namespace KvCache.Bench.Redis;

/// <summary>Encodes a command with binary arguments ahead of its use, so that the time of a call is Redis' and not the encoder's.</summary>
internal sealed class RespCommand
{
    private readonly List<byte> _bytes = [];

    /// <param name="name">Name of the command.</param>
    /// <param name="arguments">Number of arguments that will follow.</param>
    public RespCommand(string name, int arguments)
    {
        AddText(string.Create(CultureInfo.InvariantCulture, $"*{arguments + 1}\r\n"));
        Add(Encoding.ASCII.GetBytes(name));
    }

    public RespCommand Add(ReadOnlySpan<byte> argument)
    {
        AddText(string.Create(CultureInfo.InvariantCulture, $"${argument.Length}\r\n"));
        _bytes.AddRange(argument);
        AddText("\r\n");
        return this;
    }

    public byte[] ToArray() => [.. _bytes];

    private void AddText(string text) => _bytes.AddRange(Encoding.ASCII.GetBytes(text));
}
