using System.Globalization;

namespace KvCache.Engine.Events;

/// <summary>
/// Reads batches of KV events of any version: positional arrays up to vLLM 0.23, maps with a member <c>type</c> from 0.24. Members that it
/// does not know are skipped, events of an unknown type too.
/// </summary>
internal static class KvEventReader
{
    /// <summary>Most events of a batch that are taken; a bound for hostile input.</summary>
    public const int MaxEvents = 65_536;

    // Positions of the members in array form, behind the type.
    private static readonly string[] StoredMembers =
        ["block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name", "extra_keys", "group_idx"];

    private static readonly string[] RemovedMembers = ["block_hashes", "medium", "group_idx"];

    /// <summary>Reads one batch: <c>[time, events, …]</c> or a map with <c>events</c>.</summary>
    /// <exception cref="KvFormatException">It is not MessagePack, or not a batch.</exception>
    public static IReadOnlyList<KvEvent> Read(ReadOnlySpan<byte> batch)
    {
        var reader = new MessagePackReader(batch);
        if (reader.Next == MessagePackKind.Array)
        {
            if (reader.Array() < 2)
                throw new KvFormatException("A batch of KV events has a time and a list of events; fewer items were found.");
            reader.Skip();
            return Events(ref reader);
        }

        for (var members = reader.Map(); members > 0; members--)
        {
            if (reader.Text() == "events")
                return Events(ref reader);
            reader.Skip();
        }

        throw new KvFormatException("A batch of KV events has a member 'events'; there is none.");
    }

    private static List<KvEvent> Events(ref MessagePackReader reader)
    {
        var count = reader.Array();
        if (count > MaxEvents)
            throw new KvFormatException($"A batch of KV events has at most {MaxEvents} events; {count} were announced.");
        var events = new List<KvEvent>(count);
        for (; count > 0; count--)
        {
            // In the order in which they were sent, the type can stand anywhere in a map: look for it first.
            var item = reader.Skip();
            if (Event(item) is { } known)
                events.Add(known);
        }

        return events;
    }

    private static KvEvent? Event(ReadOnlySpan<byte> item)
    {
        var members = new Members();
        var reader = new MessagePackReader(item);
        string? type = null;
        if (reader.Next == MessagePackKind.Array)
        {
            var count = reader.Array();
            if (count == 0)
                throw new KvFormatException("A KV event begins with its type; an empty array was found.");
            type = reader.Text();
            var names = type switch
            {
                "BlockStored" => StoredMembers,
                "BlockRemoved" => RemovedMembers,
                _ => [],
            };
            for (var i = 0; i + 1 < count && i < names.Length; i++)
                members.Read(names[i], ref reader);
        }
        else
        {
            for (var count = reader.Map(); count > 0; count--)
            {
                var name = reader.Text();
                if (name == "type")
                    type = reader.Text();
                else
                    members.Read(name, ref reader);
            }
        }

        return type switch
        {
            "BlockStored" => members.Stored(),
            "BlockRemoved" => new BlockRemovedEvent { Hashes = members.Hashes, Medium = members.Medium, Group = members.Group },
            "AllBlocksCleared" => new AllBlocksClearedEvent(),
            _ => null,
        };
    }

    /// <summary>The members of one event, whichever way they came.</summary>
    private ref struct Members
    {
        private ulong? _parent;
        private int[] _tokens = [];
        private int _tokensPerBlock;
        private string? _loraName, _loraId;
        private byte[][] _extraKeys = [];

        public Members()
        {
        }

        public ulong[] Hashes { get; private set; } = [];

        public string? Medium { get; private set; }

        public int? Group { get; private set; }

        public void Read(string name, ref MessagePackReader reader)
        {
            if (reader.TryNil())
                return;
            switch (name)
            {
                case "block_hashes":
                    Hashes = new ulong[reader.Array()];
                    for (var i = 0; i < Hashes.Length; i++)
                        Hashes[i] = Hash(ref reader);
                    break;
                case "parent_block_hash": _parent = Hash(ref reader); break;
                case "token_ids":
                    _tokens = new int[reader.Array()];
                    for (var i = 0; i < _tokens.Length; i++)
                        _tokens[i] = (int)reader.Integer();
                    break;
                case "block_size": _tokensPerBlock = (int)reader.Integer(); break;
                case "lora_id": _loraId = reader.Integer().ToString(CultureInfo.InvariantCulture); break;
                case "lora_name": _loraName = reader.Text(); break;
                case "medium": Medium = reader.Text(); break;
                case "group_idx": Group = (int)reader.Integer(); break;
                case "extra_keys":
                    _extraKeys = new byte[reader.Array()][];
                    for (var i = 0; i < _extraKeys.Length; i++)
                        _extraKeys[i] = reader.TryNil() ? [] : reader.Skip().ToArray();
                    break;
                default: reader.Skip(); break;
            }
        }

        public readonly BlockStoredEvent Stored()
        {
            // The adapter's name is told apart already, and is the only extra key of most blocks that have any.
            for (var i = 0; i < _extraKeys.Length; i++)
            {
                if (IsText(_extraKeys[i], _loraName))
                    _extraKeys[i] = [];
            }

            return new BlockStoredEvent
            {
                Hashes = Hashes,
                Parent = _parent,
                Tokens = _tokens,
                TokensPerBlock = _tokensPerBlock,
                LoraAdapter = _loraName ?? _loraId ?? "",
                Medium = Medium,
                Group = Group,
                ExtraKeys = _extraKeys,
            };
        }

        private static bool IsText(byte[] keys, string? text)
        {
            if (text is null || keys.Length == 0)
                return false;
            var reader = new MessagePackReader(keys);
            return reader.Next == MessagePackKind.Array && reader.Array() == 1 && reader.Next == MessagePackKind.Text
                && reader.Text() == text;
        }

        private static ulong Hash(ref MessagePackReader reader) =>
            reader.Next == MessagePackKind.Bytes ? KvEvent.LowBits(reader.Bytes()) : reader.Integer();
    }
}
