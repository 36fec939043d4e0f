import { Command } from '@oclif/core/command'
import type { Input, ParserOutput } from '@oclif/core/parser'
import type { ArgInput, FlagInput, OutputArgs, OutputFlags } from '@oclif/core/interfaces'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, VmcacheError } from '../base/errors.js'
import type { ChangeResult, JobDocument, TargetResult } from '../protocol/control/documents.js'
import type { RequestOf, ResponseOf } from '../protocol/control/routes.js'
import type { ChangeOperation, ReadOperation } from '../protocol/control/control-client.js'
import { EngineConnection, type ChangeOptions } from './engine-connection.js'
import { changeFlags, globalFlags, hiddenChangeFlags } from './global-flags.js'
import { globalOptions, type GlobalOptions } from './global-options.js'
import { errorText, talk, writeJson, writeJsonLine, writeText } from './output.js'
import { interruption } from './interruption.js'
import { screenOf, type Screen } from './screen.js'
import { errorOfTargets } from './targets.js'

type ChangeDocument = ChangeResult & { readonly results?: readonly TargetResult[] }

/**
 * What every command is made of: parse the flags, make one request, print its result. `run` returns the JSON document of
 * the command.
 */
export abstract class VmcacheCommand extends Command {
  static override baseFlags = { ...globalFlags, ...hiddenChangeFlags }

  protected options: GlobalOptions = globalOptions({})
  #connection: EngineConnection | null = null

  protected override async parse<
    F extends OutputFlags<FlagInput>,
    B extends OutputFlags<FlagInput>,
    A extends OutputArgs<ArgInput>,
  >(input?: Input<F, B, A>, argv?: string[]): Promise<ParserOutput<F, B, A>> {
    const output = await super.parse(input, argv)
    this.options = globalOptions(output.flags)
    return output
  }

  protected get engine(): EngineConnection {
    return (this.#connection ??= new EngineConnection(this.options, interruption))
  }

  /** Reads something from the engine; ENGINE_UNAVAILABLE where none runs. */
  protected ask<O extends ReadOperation>(operation: O, request: RequestOf<O>): Promise<ResponseOf<O>> {
    return this.engine.ask(operation, request)
  }

  /** Prints a result: the document with --json, else what `text` makes of it. */
  protected async print<R>(result: R, text: (screen: Screen) => string | Promise<string>): Promise<R> {
    if (this.options.json) writeJson(result)
    else writeText(await text(await this.screen()))
    return result
  }

  /**
   * Prints a result that is bad news in itself: the error is a key of the document with --json, follows the text
   * otherwise, and is the exit code.
   */
  protected async printWithError<R extends object>(
    result: R,
    error: VmcacheError | null,
    text: (screen: Screen) => string | Promise<string>,
  ): Promise<R> {
    if (error === null) return this.print(result, text)
    process.exitCode = error.exit
    if (this.options.json) writeJson({ ...result, error: error.toDocument() })
    else {
      writeText(await text(await this.screen()))
      talk(await errorText(error, this.options))
    }
    return result
  }

  /** Prints one of many results, on one line with --json. */
  protected async printLine(result: object, text: (screen: Screen) => string | Promise<string>): Promise<void> {
    if (this.options.json) writeJsonLine(result)
    else writeText(await text(await this.screen()))
  }

  /** What an empty list says to people; a pipe gets nothing. */
  protected empty(text: string): string {
    return process.stdout.isTTY && !this.options.quiet ? text : ''
  }

  /** Says what was done, to people only: a script learns it from the exit code or with --json. */
  protected say(text: string): void {
    if (text !== '' && !this.options.quiet && !this.options.json && process.stderr.isTTY) talk(text)
  }

  /** Says what must be known before it is done, whoever listens. */
  protected announce(text: string | null): void {
    if (text !== null) talk(this.options.dryRun ? `would be ${text}` : text)
  }

  /** Waits; false when Ctrl-C ended the waiting, which is how a command that goes on for ever ends. */
  protected async pause(milliseconds: number): Promise<boolean> {
    try {
      await sleep(milliseconds, undefined, { signal: interruption })
      return true
    } catch {
      process.exitCode = EXIT.interrupted
      return false
    }
  }

  protected screen(): Promise<Screen> {
    return screenOf(process.stdout, this.options.noColour)
  }
}

/** A command that changes something. */
export abstract class ChangeCommand extends VmcacheCommand {
  static override baseFlags = { ...globalFlags, ...changeFlags }

  /**
   * Asks the engine (which is started where none runs) for a change, waits for its end, and prints the result: the
   * document with --json, the steps of a dry run, else `data` for whoever reads the output and `done` for people. With
   * --no-wait prints the job.
   */
  protected async change<O extends ChangeOperation>(
    operation: O,
    request: RequestOf<O>,
    done: (result: ResponseOf<O>) => string,
    options: ChangeOptions & {
      readonly data?: (result: ResponseOf<O>) => string
      /** Where the result is bad news in itself. */
      readonly error?: (result: ResponseOf<O>) => VmcacheError | null
    } = {},
  ): Promise<ResponseOf<O> | JobDocument> {
    const { job, result } = await this.engine.change(operation, request, options)
    if (result === null) return this.print(job, () => job.id)
    const document: ChangeDocument = result
    const error = options.error?.(result) ?? errorOfTargets(document.results ?? [])
    await this.printWithError(result, error, () =>
      document.dryRun === true ? (document.steps ?? []).join('\n') : (options.data?.(result) ?? ''),
    )
    if (document.results !== undefined && !this.options.json) await this.#sayTargets(document.results)
    if (document.dryRun !== true) this.say(done(result))
    return result
  }

  /** Asks a question whose yes loses no data. Without a terminal --yes is needed. */
  protected async confirm(question: string): Promise<void> {
    if (this.options.yes || this.options.dryRun) return
    const { confirmed } = await import('./confirm.js')
    await confirmed(question)
  }

  async #sayTargets(results: readonly TargetResult[]): Promise<void> {
    if (results.length < 2) return
    for (const { name, error } of results) {
      if (error !== null) talk(`${name}: ${await errorText(VmcacheError.fromDocument(error), this.options)}`)
    }
  }
}
