using System.Text;
using LLama;
using LLama.Exceptions;
using Microsoft.Extensions.AI;

namespace KvCache.LLamaSharp.Chat;

/// <summary>Makes prompts of messages. A conversation that goes on begins with the same text, so that its KV is found again.</summary>
internal sealed class ChatPrompt
{
    private readonly LLamaContext _context;
    private readonly LLamaChatOptions _options;
    private readonly bool _hasTemplate;

    public ChatPrompt(LLamaContext context, LLamaChatOptions options)
    {
        (_context, _options) = (context, options);
        _hasTemplate = options.UseTemplate && HasKnownTemplate();
        Stops = _hasTemplate ? [] : [$"\n{options.UserName}:", $"\n{options.SystemName}:", $"\n{options.AssistantName}:"];
    }

    /// <summary>Texts that begin another message.</summary>
    public IReadOnlyList<string> Stops { get; }

    public string Of(IEnumerable<ChatMessage> messages, string? instructions)
    {
        if (!string.IsNullOrEmpty(instructions))
            messages = messages.Prepend(new ChatMessage(ChatRole.System, instructions));
        return _hasTemplate ? Templated(messages) : Plain(messages);
    }

    private string Templated(IEnumerable<ChatMessage> messages)
    {
        var template = new LLamaTemplate(_context.NativeHandle.ModelHandle) { AddAssistant = true };
        foreach (var message in messages)
            template.Add(message.Role.Value, message.Text);
        return LLamaTemplate.Encoding.GetString(template.Apply());
    }

    private string Plain(IEnumerable<ChatMessage> messages)
    {
        var text = new StringBuilder();
        foreach (var message in messages)
        {
            var name = message.Role == ChatRole.System ? _options.SystemName
                : message.Role == ChatRole.Assistant ? _options.AssistantName
                : _options.UserName;
            text.Append(name).Append(": ").Append(message.Text).Append('\n');
        }

        return text.Append(_options.AssistantName).Append(": ").ToString();
    }

    private bool HasKnownTemplate()
    {
        if (_context.NativeHandle.ModelHandle.GetTemplate(strict: false) is null)
            return false;
        try
        {
            var template = new LLamaTemplate(_context.NativeHandle.ModelHandle) { AddAssistant = true };
            template.Add("user", "x").Apply();
            return true;
        }
        catch (MissingTemplateException)
        {
            return false; // llama.cpp knows the usual ones only
        }
    }
}
